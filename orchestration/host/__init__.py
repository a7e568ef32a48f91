"""Facts about this machine: resources, clocks, permissions, ports, reachability."""
