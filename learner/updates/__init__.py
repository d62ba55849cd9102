"""Update rules, each whole in one file."""
