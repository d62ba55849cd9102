"""A simulated person in front of the real loop: how much does it learn, from how many picks?"""
