"""All routes of pages, in one place."""

from layerscout.service.web import asking, deciding, document, entrance, jobs, looking, rankings, runs, stores

ALL = (
    *(entrance.ROUTES, deciding.ROUTES, stores.ROUTES, looking.ROUTES, asking.ROUTES),
    *(jobs.ROUTES, rankings.ROUTES, runs.ROUTES, document.ROUTES),
)
