"""The calls that answer: customers, plans, subscriptions, add-ons, credits, access.

Each call is a function in the module of its group: it reads its arguments (:mod:`.arguments`), says what is sent to
which generation of the server, and names what comes back (:mod:`.answers`). How a call is made is in :mod:`.caller`,
which server it is in :mod:`.generation`, what an error means in :mod:`.problem`.
"""
