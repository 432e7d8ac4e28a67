"""Values, no behaviour: settings, resources, and what Celery and gunicorn are given. Imports nothing of ours."""
