"""The one table of tolerances. A number here is a promise to users, not a convenience."""

LOGIT = 1e-12  # effective_logit against mpmath, absolute, times max(1, |z|)
ROUNDING = 1e-13  # the same quantity by two float64 routes, relative
DERIVATIVE = 1e-9  # implicit derivatives against mpmath's, relative
ADVICE = 1e-8  # the advisor in a page against the library's, absolute
BROWSER = 1e-9  # JavaScript against Python, absolute, times max(1, |z|)
KERNEL = 4e-14  # ReLU kernels against mpmath, relative, at any distance of the inputs
SMOOTH_KERNEL = 1e-12  # kernels of smooth activations against mpmath, relative to sqrt(k(x, x) k(x', x')); without
# biases, where an input is below 0.01, to the larger of the two
QUADRATURE = 1e-12  # limit kernels against Gauss-Hermite sums, relative
NESTED = 1e-10  # nested students against one solve each, relative
ENGINES = 1e-12  # nested students in Dask's blocks against those in memory, relative to the largest
INTERPOLATION = 1e-9  # a student's logits at its own samples against the targets
TRACE = 1e-7  # expected norms against explicit inverses, relative: these lose what the kernel's condition costs, twice
SLOPE = 1e-9  # slopes of norms that are powers of n, absolute
TEACHER = 0.01  # a kernel teacher's logits beyond epoch 64 against plain descent, absolute
DESCENT = 1e-9  # the same up to epoch 64, absolute
HEAD = 0.03  # logits of a linear head without a sample, by one step, against a refit, relative to their spread
STORED = 1e-6  # stored results, in single precision, relative
