"""Search over recipes: candidates, the front of the best of them per target, and the choice by constraint."""
