def mount(app, server):
    return app
