# SPDX-License-Identifier: Apache-2.0
"""The server of the browser page: one WebSocket, the page's files, downloads and uploads. Thin: sessions do the work.

The only folder that knows FastAPI and uvicorn. Does not know how masks are made or stored.
"""
