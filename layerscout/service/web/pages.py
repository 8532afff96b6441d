"""All routes of pages, in one place."""

from layerscout.service.web import asking, entrance, jobs, rankings, stores

ALL = (entrance.ROUTES, stores.ROUTES, asking.ROUTES, jobs.ROUTES, rankings.ROUTES)
