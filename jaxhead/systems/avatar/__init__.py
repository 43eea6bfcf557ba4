"""The flagship avatar: a hash field on a tracked head mesh (CN117115331B, INSTA)."""
