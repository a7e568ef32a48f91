"""What runs the services: Docker, or plain processes under supervisord."""
