"""Firmware (contract 9)."""

from __future__ import annotations

from services.gateway.http import (
    documents,
    firmware,
    firmware_schemas,
    requests,
)
from services.gateway.http.routes.rows import (
    AS_OF,
    PRODUCT,
    VERSION,
    delete,
    get,
    post,
    put,
)

ROUTES = [
    get(
        PRODUCT + "/firmware",
        "firmware.read",
        "Firmware versions, the highest first",
        firmware.list_versions,
        documents.Firmware(many=True),
        **AS_OF,
    ),
    post(
        PRODUCT + "/firmware",
        "firmware.upload",
        "Upload a version",
        firmware.upload_version,
        documents.FirmwareUploaded(),
        request=requests.FirmwareUpload(),
        body="upload",
        status=201,
    ),
    put(
        PRODUCT + "/firmware/release",
        "firmware.release",
        "Release a version",
        firmware.release_version,
        documents.FirmwareReleased(),
        request=requests.FirmwareRelease(),
    ),
    get(VERSION, "firmware.read", "A version", firmware.read_version, documents.Firmware(), **AS_OF),
    put(
        VERSION,
        "firmware.change",
        "Change what a version is called",
        firmware.describe_version,
        documents.Firmware(),
        request=firmware_schemas.FirmwareChanges(),
    ),
    delete(
        VERSION,
        "firmware.remove",
        "Delete a version that no device ran and that was never released",
        firmware.delete_version,
        None,
        status=204,
    ),
    get(
        PRODUCT + "/impact",
        "firmware.read",
        "What a release would mean for the devices",
        firmware.read_impact,
        firmware_schemas.Impact(),
        query=firmware_schemas.ImpactQuery(),
    ),
    get(
        VERSION + "/binary",
        "firmware.read",
        "Its file",
        firmware.download_version,
        None,
        media_type="application/octet-stream",
    ),
]
