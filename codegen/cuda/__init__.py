"""NVIDIA GPUs: CUDA C++ under templates/, compiled by nvcc or NVRTC, called from TVM's virtual machine."""
