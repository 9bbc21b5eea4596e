"""Rendering in plain torch: cameras, rays, volumes, and the meshes that they become."""
