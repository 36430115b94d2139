"""Theorem 1, measured: how far apart are the meta-gradients of LFT and L2O?"""
