"""Does it learn? The suite on stored candidate pools; docs/learning-results.md has the results."""
