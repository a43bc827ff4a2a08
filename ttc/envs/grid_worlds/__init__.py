"""The grid worlds of Learned Policy Gradients."""
