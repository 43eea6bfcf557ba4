"""Speed and quality, measured; each module prints one Markdown table."""
