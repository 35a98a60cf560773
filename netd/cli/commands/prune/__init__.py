"""The verbs that remove everything unused: ``container prune``, ``system prune``, and the requests of all prunes."""
