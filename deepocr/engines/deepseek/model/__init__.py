"""The network: SAM and CLIP see the page, a mixture-of-experts decoder writes it down."""
