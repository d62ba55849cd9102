"""What the person sees: the chat service, the page over it, and nothing of tensors or SQL."""
