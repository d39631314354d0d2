"""Inference-time safety guards for vision-language models."""
