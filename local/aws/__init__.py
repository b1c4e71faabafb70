"""The stand-ins for AWS: moto on loopback, Lambda, event sources and schedules."""
