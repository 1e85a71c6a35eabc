"""The steps of ``sartor compress``, one a file: each a light ``SPEC``, its ``Options`` and a function."""
