"""Lists that are narrowed by `metadata[key]=value`, parameters whose names are the client's own.

class Wanted(ByMetadata, Paging): model_config = ConfigDict(extra="allow", ...)

@router.get("", openapi_extra=BY_METADATA)
def list_things(wanted: Annotated[Wanted, Query()]): wanted.entries()
"""

import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from api.store.preference_filter import MetadataKey, MetadataValue

_METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)
_ENTRIES = TypeAdapter(Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)])
BY_METADATA: dict[str, Any] = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "description": "`metadata[key]=value`: entries of the metadata, all of them.",
            "schema": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 512}},
            "example": {"team": "safety"},
        }
    ]
}
"""For the OpenAPI document."""


class ByMetadata(BaseModel):
    """A query; `metadata[key]=value` are the keys that it has no fields for."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    @model_validator(mode="after")
    def _known(self) -> Self:
        self.entries()
        return self

    def entries(self) -> dict[str, str]:
        """The metadata asked for; ValueError where another parameter is not known."""
        found = {name: _METADATA.fullmatch(name) for name in self.model_extra or {}}
        if not all(found.values()):
            raise ValueError("the query has a parameter that is not known here")
        entries = {match[1]: (self.model_extra or {})[name] for name, match in found.items() if match is not None}
        try:
            return _ENTRIES.validate_python(entries)
        except ValidationError as error:
            raise ValueError(
                "metadata[key]=value: keys of 1 to 64, values of at most 512 characters, once each"
            ) from error
