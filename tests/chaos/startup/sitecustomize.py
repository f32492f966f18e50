"""Python runs this as it starts, also in the commands of the product, which so are run as they are."""

import os

if "CHAOS_ARMS" in os.environ:
    from tests.chaos.wrapping import install_from_environment

    install_from_environment(os.environ)
