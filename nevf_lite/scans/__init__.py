"""Reading and writing of images, labels, landmarks and displacement fields, in millimetres."""
