"""What was segmented: one mask per structure on the volume's own grid."""
