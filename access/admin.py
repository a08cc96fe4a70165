from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.safestring import SafeString

from . import desk
from .forms import UTCInput
from .models import ApiKey, Scope


class ApiKeyForm(forms.ModelForm):
    scopes = forms.MultipleChoiceField(
        choices=Scope.choices,
        initial=Scope.values,
        widget=forms.CheckboxSelectMultiple,
        help_text="What the key may do. Writing includes reading.",
    )

    class Meta:
        model = ApiKey
        fields = ["name", "scopes", "expires_at"]
        field_classes = {"expires_at": forms.DateTimeField}
        widgets = {"expires_at": UTCInput}
        help_texts = {"expires_at": "UTC; empty means never."}


class ValidFilter(admin.SimpleListFilter):
    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("valid", "Valid"), ("expired", "Expired"), ("revoked", "Revoked")]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[ApiKey]
    ) -> QuerySet[ApiKey]:
        expired = Q(expires_at__lte=timezone.now())
        chosen = {
            "valid": ~expired & Q(revoked_at=None),
            "expired": expired & Q(revoked_at=None),
            "revoked": ~Q(revoked_at=None),
        }
        return queryset.filter(chosen.get(self.value() or "", Q()))


def is_superuser(request: HttpRequest) -> bool:
    return bool(request.user.is_active and getattr(request.user, "is_superuser", False))


@admin.register(ApiKey)
class ApiKeyAdmin(desk.Desk):
    """A key is shown once, by the answer to the request that made it."""

    form = ApiKeyForm
    actions = ["revoke"]
    list_display = [
        "name",
        "key",
        "validity",
        "may",
        "created",
        "last_used",
        "expires",
        "created_by",
    ]
    list_filter = [ValidFilter, "created_at"]
    list_select_related = ["created_by"]
    search_fields = ["name", "prefix"]
    fields = ["name", "scopes", "expires_at"]
    lede = "Keys for programs. Only a hash of each is kept."

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> Any:
        more = ["key", "validity", "created", "last_used", "created_by"]
        return [*self.fields, *(more if obj else [])] if self.fields else more

    def get_readonly_fields(
        self, request: HttpRequest, obj: ApiKey | None = None
    ) -> Any:
        return ["key", "validity", "created", "last_used", "created_by"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return is_superuser(request)  # a key may do more than whoever makes it

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return is_superuser(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False  # a revoked key still says who could do what, and when

    def object_actions(self, shown: ApiKey) -> list[desk.ObjectAction]:
        valid = shown.revoked_at is None
        return [desk.ObjectAction("revoke", "Revoke")] if valid else []

    def save_model(
        self, request: HttpRequest, obj: ApiKey, form: Any, change: bool
    ) -> None:
        if change:
            obj.save()
            return
        obj.created_by_id = request.user.pk
        request.META["tocsin.issued_key"] = obj.issue()

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"The key for {obj.name}",
            "opts": self.opts,
            "original": obj,
            "key": request.META.pop("tocsin.issued_key"),
        }
        # Not by a message: those are kept in a cookie until they are shown.
        return TemplateResponse(request, "admin/access/apikey/issued.html", context)

    @admin.action(description="Revoke", permissions=["operate"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        for key in queryset:
            key.revoke(at=timezone.now())
            self.log_change(request, key, "Revoked.")
        self.message_user(request, "Revoked: programs with it are refused from now on.")

    @admin.display(description="Key")
    def key(self, key: ApiKey) -> str:
        return f"toc_{key.prefix}_…"

    @admin.display(description="State")
    def validity(self, key: ApiKey) -> SafeString:
        if key.revoked_at:
            return desk.state("no_data", "Revoked")
        if key.expires_at and key.expires_at <= timezone.now():
            return desk.state("no_data", "Expired")
        return desk.state("up", "Valid")

    @admin.display(description="May")
    def may(self, key: ApiKey) -> str:
        held = set(key.scopes)
        return "everything" if held >= set(Scope.values) else ", ".join(sorted(held))

    @admin.display(description="Created", ordering="created_at")
    def created(self, key: ApiKey) -> SafeString:
        return desk.moment(key.created_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used(self, key: ApiKey) -> SafeString:
        return desk.moment(key.last_used_at, ago=True)

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, key: ApiKey) -> SafeString:
        return desk.moment(key.expires_at)
