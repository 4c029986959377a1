"""What is measured of segments: size, intensity, lesions and their diameters."""
