"""FaceX (arXiv 2401.00551): one representation of a face, and every editing task as a choice of whose factor to use.

FORD decomposes photographs into factors (`decompose`), an `EditPlan` says which factor comes from which photo (`plan`),
FORS assembles the chosen ones into tokens and a reference picture (`assemble`, `reference`), and the FRC steers a
Stable-Diffusion-like UNet with them (`control`, `steer`).
"""
