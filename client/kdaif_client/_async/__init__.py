"""The client as coroutines, and the source of the blocking one.

``tools/generate_blocking.py`` makes ``kdaif_client/_client.py``, ``_job.py``, ``_line.py``, ``_upload.py``,
``_download.py`` and ``_weights.py`` of the modules here by leaving out ``async`` and ``await``. ``rpc`` and ``running``
are written twice by hand, here and as ``_rpc`` and ``_running``: they are where the two differ.
"""
