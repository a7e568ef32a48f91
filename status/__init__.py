"""The status page: probes of the stack's services and the small server that shows them."""
