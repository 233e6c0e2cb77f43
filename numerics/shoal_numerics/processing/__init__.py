"""What a version declares of its inputs and outputs, done: images, tables, labels, boxes.

Values in, values out, vectorised in numpy; knows neither HTTP nor files. Devices and the hub compute it alike.
"""
