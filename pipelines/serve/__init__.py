"""A page on this machine to look at a finished dataset, in any browser, without a build step.

`app` puts it together, `guard` lets in only who has the token, `answers` turns functions into JSON
routes. `static/` has the page: plain ES modules that ask those routes.
"""
