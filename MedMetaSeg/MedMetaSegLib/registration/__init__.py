"""Where one image lies in another: an affine pose, then a dense displacement; knows no task."""
