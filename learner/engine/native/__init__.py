"""The decoding step in C++, compiled for the machine it runs on, and its binding."""
