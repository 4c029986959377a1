"""Labelled images of others: cases, their licences, and which patients are held out."""
