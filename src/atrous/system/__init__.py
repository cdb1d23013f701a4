"""What the operating system gives: files, locks, signals, worker pools, devices, ranks, sums over processes."""
