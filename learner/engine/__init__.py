"""How replies are drawn: the model behind one seam."""
