"""Measurements of the product on a quiet machine, through the code that users run.

    python -m benchmarks                        all of them, on ResNet-20 and Fashion-MNIST
    python -m benchmarks slider                 seconds from a slider's position to its measured points
    python -m benchmarks accuracy               accuracy lost, bytes and time for a list of recipes, over 3 seeds
    python -m benchmarks files                  bytes, latency and loading time of packed files beside others
    python -m benchmarks lessons                what the lessons quote, into compression/lessons/
    python -m benchmarks sweep                  seconds of the sensitivity of every layer
    python -m benchmarks roofline               estimated over measured latency, on every network of the zoo
    python -m benchmarks screenshots            pictures of every page, into docs/screenshots/
    python -m benchmarks ui                     what a person at the browser waits for, in Chromium
    python -m benchmarks reference              the sweep that comes with the app, into compression/reference/
    python -m benchmarks peers                  this program beside other tools; needs requirements-bench.txt
    python -m benchmarks accuracy --model lenet5 --dataset digits --out results/

Each prints Markdown to stdout; with `--out FOLDER` it writes BENCHMARK-MODEL-DATASET.json and .md there instead. The
JSON says on which machine, with which versions and at which load it was measured. A benchmark refuses to start while
something else uses the processor: its milliseconds would be those of a busier machine.
"""
