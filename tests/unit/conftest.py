"""Laws are checked on generated examples; how long one takes says something about the machine, not about the law."""

from hypothesis import HealthCheck, settings

settings.register_profile("solon", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("solon")
