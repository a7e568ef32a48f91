"""Engines that run the services: Docker, or plain processes under supervisord."""
