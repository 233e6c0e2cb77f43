"""Reports of what is known of a version in the order of a framework's sections; what is not known is named as empty."""
