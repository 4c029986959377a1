"""Images and labels handed on to other tools, in the form that they train with."""
