from django.contrib.admin import AdminSite


class TocsinAdminSite(AdminSite):
    site_header = "Tocsin"
