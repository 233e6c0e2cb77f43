"""ReLU and convolution whose gradients LiteRT can run with its builtin operators.

TensorFlow's own gradients of these are `ReluGrad` and `Conv2DBackpropFilter`, which exist only as Flex operators;
a device would need all of TensorFlow to run them. Here they are written as multiplications and convolutions.
"""

from typing import Any, Literal

from shoal_training.tensorflow_runtime import load_tensorflow

Tensor = Any
"""A tf.Tensor; TensorFlow has no types."""
Padding = Literal["SAME", "VALID"]


def relu(x: Tensor) -> Tensor:
    """Return max(x, 0); its gradient is a product with a mask."""
    tf = load_tensorflow()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def forward(x: Tensor) -> Tensor:
        y = tf.nn.relu(x)
        return y, lambda upstream: upstream * tf.cast(y > 0.0, tf.float32)

    return forward(x)


def conv2d(x: Tensor, kernel: Tensor, stride: int, padding: Padding) -> Tensor:
    """Convolve (n, height, width, in) with (rows, columns, in, out); the batch must be fixed to differentiate."""
    tf = load_tensorflow()

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def forward(x: Tensor, kernel: Tensor) -> Tensor:
        def gradient(upstream: Tensor) -> tuple[Tensor, Tensor]:
            of_input = tf.nn.conv2d_transpose(upstream, kernel, x.shape, stride, padding)
            return of_input, _kernel_gradient(x, kernel, upstream, stride, padding)

        return tf.nn.conv2d(x, kernel, stride, padding), gradient

    return forward(x, kernel)


def _kernel_gradient(x: Tensor, kernel: Tensor, upstream: Tensor, stride: int, padding: Padding) -> Tensor:
    """Convolve the input with the upstream gradient: channels play the batch, the stride becomes a dilation."""
    tf = load_tensorflow()
    rows, columns = kernel.shape[0], kernel.shape[1]
    pads = [_padding(x.shape[axis], upstream.shape[axis], kernel.shape[axis - 1], stride, padding) for axis in (1, 2)]
    padded = tf.pad(x, [[0, 0], *pads, [0, 0]])
    images = tf.transpose(padded, [3, 1, 2, 0])
    filters = tf.transpose(upstream, [1, 2, 0, 3])
    product = tf.nn.conv2d(images, filters, 1, "VALID", dilations=stride)
    return tf.transpose(product, [1, 2, 0, 3])[:rows, :columns]


def _padding(size: int, out: int, window: int, stride: int, padding: Padding) -> list[int]:
    """Return the zeros before and after one axis, by TensorFlow's rule (more after than before)."""
    if padding == "VALID":
        return [0, 0]
    total = max((out - 1) * stride + window - size, 0)
    return [total // 2, total - total // 2]
