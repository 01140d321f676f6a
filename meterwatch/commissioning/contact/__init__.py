"""Everything in commissioning that speaks to devices: a file or two for each protocol.

``ports`` says what a probe and a scan need of a protocol, ``table`` which protocol reads which
URL. The rest of commissioning sees values only, whoever brought them.
"""
