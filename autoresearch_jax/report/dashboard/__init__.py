"""The dashboard: a local web server that shows runs live, from their ledgers.

`followed_run` follows the ledger of one run, `access` decides who may ask, `app` answers, `serve`
starts the server. Importing `app` and `serve` needs the extra `dashboard`.
"""
