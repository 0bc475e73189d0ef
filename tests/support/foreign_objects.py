"""Objects with names that our stores never use, put into a bucket through each server's own interface."""

import asyncio
import json
import urllib.request
from urllib.parse import quote

from object_servers import BUCKET


def put_raw(server, values):
    """Write objects under exactly these names."""
    {"S3Server": _put_s3, "AzureServer": _put_azure, "GcsServer": _put_gcs}[type(server).__name__](
        server, values
    )


def names_raw(server, prefix):
    """Return the names of all objects with a prefix, as the server has them."""
    kind = {"S3Server": _names_s3, "AzureServer": _names_azure, "GcsServer": _names_gcs}
    return sorted(kind[type(server).__name__](server, prefix))


def _s3(server, method, requests):
    from s3fs import S3FileSystem

    async def call():
        fs = S3FileSystem(asynchronous=True, skip_instance_cache=True, **server.fsspec_options())
        session = await fs.set_session()
        try:
            return [await getattr(session, method)(Bucket=BUCKET, **arguments) for arguments in requests]
        finally:
            await session.close()

    return asyncio.run(call())


def _put_s3(server, values):
    _s3(server, "put_object", [{"Key": name, "Body": value} for name, value in values.items()])


def _names_s3(server, prefix):
    (found,) = _s3(server, "list_objects_v2", [{"Prefix": prefix}])
    return [row["Key"] for row in found.get("Contents", ())]


def _azure(server):
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient.from_connection_string(server.connection_string)


def _put_azure(server, values):
    with _azure(server) as client:
        for name, value in values.items():
            client.get_blob_client(BUCKET, name).upload_blob(value)


def _names_azure(server, prefix):
    with _azure(server) as client:
        return list(client.get_container_client(BUCKET).list_blob_names(name_starts_with=prefix))


def _put_gcs(server, values):
    for name, value in values.items():
        url = f"{server.endpoint}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={quote(name, safe='')}"
        put = urllib.request.Request(url, value, {"Content-Type": "application/octet-stream"})
        urllib.request.urlopen(put, timeout=10).close()


def _names_gcs(server, prefix):
    url = f"{server.endpoint}/storage/v1/b/{BUCKET}/o?prefix={quote(prefix, safe='')}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return [item["name"] for item in json.load(answer).get("items", ())]
